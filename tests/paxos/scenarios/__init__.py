"""Faults that seeds or readers found, each as the shortest story that shows it. Seeds drift; stories stay."""
