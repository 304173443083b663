"""How each kind of step is done."""
