"""What every strategy and selector must keep, as checks to run on your own."""

from skal.testing._selector_checks import check_batch_selector
from skal.testing._strategy_checks import check_query_strategy, query_strategy_checks

__all__ = ["check_batch_selector", "check_query_strategy", "query_strategy_checks"]
