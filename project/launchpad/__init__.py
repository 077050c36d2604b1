"""The machinery between a Python function and its page. See `jobs.py` for the functions themselves."""
