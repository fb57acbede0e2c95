"""The embedded exchange: Binance USD-M rules and protocol on a price tape."""
