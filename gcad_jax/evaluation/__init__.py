"""Anomaly maps to AU-sPRO and AU-ROC; thresholds and p-values."""
