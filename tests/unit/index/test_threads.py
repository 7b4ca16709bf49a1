"""The limit of threads belongs to the thread that sets it."""

from concurrent.futures import ThreadPoolExecutor

import faiss

from mishards.index.threads import limit_threads


def limited(count: int) -> int:
    limit_threads(count)
    return faiss.omp_get_max_threads()


def test_each_thread_has_its_own_limit():
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        assert one.submit(limited, 1).result() == 1
        assert other.submit(limited, 3).result() == 3
        assert one.submit(faiss.omp_get_max_threads).result() == 1
        assert one.submit(limited, 2).result() == 2
        assert other.submit(faiss.omp_get_max_threads).result() == 3
