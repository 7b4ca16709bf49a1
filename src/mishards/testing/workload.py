"""What clients of a simulated cluster do, by chance."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from mishards.metadata.models import DEFAULT_DATABASE
from mishards.rpc.messages import CreateCollection, CreateIndex, DropCollection, Load
from mishards.testing.client import Client
from mishards.testing.history import VECTOR_FIELD, Operation
from mishards.testing.shape import COLLECTION


async def work(client: Client, until_s: float) -> None:
    """Do this and that until a virtual time."""
    chance = client.random
    kinds: list[tuple[Callable[[], Awaitable[Operation]], int]] = [
        (client.insert, 5),
        (client.upsert, 6),
        (client.delete_keys, 3),
        (client.delete_group, 1),
        (client.query, 6),
        (client.count, 3),
        (client.search, 8),
        (client.flush, 1),
        (partial(side_collection, client), 1),
    ]
    works, weights = zip(*kinds, strict=True)
    loop = asyncio.get_running_loop()
    while loop.time() < until_s:
        await chance.choices(works, weights)[0]()
        await asyncio.sleep(chance.uniform(0.0, 0.1))


async def create(client: Client) -> Operation:
    """The simulated collection, its index, and its loading."""
    shape, database = client.shared.shape, DEFAULT_DATABASE
    for number in range(shape.log):  # a new collection goes to the log with the fewest
        other = msgspec.structs.replace(shape.schema, name=f"other_{number}")
        await client.ddl(CreateCollection(database=database, schema=other), must_succeed=True)
    return await client.ddl(
        CreateCollection(database=database, schema=shape.schema),
        CreateIndex(
            database=database,
            collection=COLLECTION,
            field=VECTOR_FIELD,
            params=shape.index_params,
        ),
        Load(database=database, collection=COLLECTION, replica_number=shape.replicas),
        must_succeed=True,
    )


async def side_collection(client: Client) -> Operation:
    """Another collection comes and goes."""
    schema = msgspec.structs.replace(
        client.shared.schema, name=f"side_{client.name}_{client.random.randrange(10**6)}"
    )
    database = DEFAULT_DATABASE
    operation = await client.ddl(CreateCollection(database=database, schema=schema))
    if operation.outcome == "ok":
        operation = await client.ddl(DropCollection(database=database, name=schema.name))
    return operation
