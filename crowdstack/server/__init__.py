"""The task server: serves the page, gives out units, keeps answers on disk before it says so. Shipped alone."""
