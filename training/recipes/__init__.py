"""Recipes: each module holds one `RECIPE` and says why it is as it is."""
