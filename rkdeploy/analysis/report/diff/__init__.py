"""Two reports side by side: what got better or worse beyond noise, and what is different about the two."""
