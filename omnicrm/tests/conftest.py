from campaigns.tests.conftest import sink

__all__ = ["sink"]
