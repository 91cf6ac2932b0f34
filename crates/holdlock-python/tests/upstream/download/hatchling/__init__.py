"""Stands in for filelock's build system while pip downloads its source distribution."""
