return look(KEYS)
