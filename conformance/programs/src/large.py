"""Lists, dictionaries and strings that grow and go."""
words = {}
for n in range(200_000):
    words.setdefault(str(n * 7919 % 10007), []).append(n)
print(len(words), sum(len(w) for w in words.values()), max(map(len, words.values())))
del words
blocks = [bytes(100_000) for _ in range(300)]
print(sum(map(len, blocks)))
del blocks
print(len("x" * 50_000_000))
