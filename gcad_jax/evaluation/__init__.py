"""Anomaly maps to AU-sPRO, AU-ROC and the report."""
