"""The verbs that need both the API and the pure core: observe, decide, and `change`, which acts and proves."""
