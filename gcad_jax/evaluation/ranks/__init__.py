"""How many good pixels score higher: exact, by histogram, on a device."""
