"""The loop's delay and the room on disks are looked at again and again."""

import asyncio

from mishards.core.runtime import SystemRuntime
from mishards.observability.instruments import Metrics
from mishards.observability.metrics import DISK_FREE, DISK_SIZE, LOOP_DELAY
from mishards.server.config import load_config
from mishards.server.sampling import sample, watched_folders
from mishards.testing.waiting import until


def test_disks_and_the_loop_are_sampled_and_a_folder_that_is_missing_is_left_out(tmp_path):
    metrics = Metrics()

    async def main():
        runtime = SystemRuntime(threads=1)
        folders = {"gone": tmp_path / "gone", "data": tmp_path}
        runtime.spawn(sample(runtime, metrics, folders), "samples")
        delays = metrics.histogram(LOOP_DELAY)
        size = metrics.gauge(DISK_SIZE, "data")
        await until(lambda: sum(delays.state()[0]) and size.value, 30)
        await runtime.close()

    asyncio.run(main())
    found = {one.metric: one.numbers for one in metrics.values()}
    assert set(found[DISK_FREE]) == {("data",)}
    assert 0 <= found[DISK_FREE][("data",)] <= found[DISK_SIZE][("data",)]


def test_folders_are_those_of_data_and_of_the_readers_copies():
    def folders(**options):
        config = load_config(options=options, environ={}).config
        return {name: str(path) for name, path in watched_folders(config).items()}

    local = folders(**{"cluster.data": "/some/folder", "reader.cache_dir": "/cache"})
    assert local == {"data": "/some/folder", "cache": "/cache"}
    assert folders(**{"cluster.data": "s3://bucket/prefix"}) == {}
