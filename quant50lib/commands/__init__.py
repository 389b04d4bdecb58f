"""Commands of `quant50`, by what they are about; `cli` puts them together."""
