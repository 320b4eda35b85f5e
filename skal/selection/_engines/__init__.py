"""The arithmetic of batches on arrays and Rows; knows no class of selectors and no estimator."""
