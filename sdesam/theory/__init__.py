"""Theory, one module or package per paper, and the exact results that check all of them."""
