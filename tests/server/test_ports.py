"""Ports: whether a server could listen, judged as a server would."""

import socket

from kvstore.server.ports import free_base_port, is_free


def test_a_port_is_free_until_somebody_listens() -> None:
    address = f"127.0.0.1:{free_base_port(nodes=1)}"
    assert is_free(address)

    with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
        assert not is_free(address)
    assert is_free(address)


def test_connections_that_linger_are_no_obstacle() -> None:
    """After a restart the former process's connections are still about; servers listen regardless."""
    port = free_base_port(nodes=1)
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # this side closes first: its end goes to TIME_WAIT
        client.close()

    assert is_free(f"127.0.0.1:{port}")


def test_an_address_that_this_machine_does_not_have_is_not_free() -> None:
    assert not is_free("192.0.2.1:2379")
    assert not is_free("no.such.host.invalid:2379")


def test_ipv6_addresses_are_written_in_brackets() -> None:
    port = free_base_port(nodes=1)
    if socket.has_ipv6:
        with socket.create_server(("::1", port), family=socket.AF_INET6):
            assert not is_free(f"[::1]:{port}")
