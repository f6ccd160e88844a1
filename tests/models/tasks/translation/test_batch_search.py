from hypothesis import given
from hypothesis import strategies as st

from heed.models.tasks.translation.batch_search import _share


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(1, 64))
def test_all_threads_have_as_many_batches_of_equal_size(n_queries: int, batch_size: int, n_workers: int) -> None:
    share = _share(n_queries, batch_size, n_workers)
    assert 1 <= share <= batch_size
    n_batches = -(-n_queries // share)
    fewest = -(-n_queries // (batch_size * n_workers)) * n_workers  # of a number that all threads can share
    assert n_batches <= fewest
    if n_queries % fewest == 0:
        assert n_batches == fewest
