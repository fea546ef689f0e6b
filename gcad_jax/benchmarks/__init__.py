"""Programs that time things; nothing of the product imports them."""
