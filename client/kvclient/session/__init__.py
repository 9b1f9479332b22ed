"""The pipelined stream: calls gathered into batches, numbered in a session, each write applied exactly once.

- ``pending``: one call on its way, and what its answer means.
- ``engine``: the rules, without I/O: which batch to send next, what an answer, a lost stream or a deadline means.
- ``fates``: what a call is told that ends without a result.
- ``patience``: calls refused for the moment.
- ``route``: whom to connect to, and when; without I/O, too.
- ``pipeline``: the asyncio half, one stream of grpc.aio at a time. Both clients drive it.
"""
