module github.com/leashcache/leash/internal/integration

go 1.26.0

replace github.com/leashcache/leash => ../..

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/leashcache/leash v0.0.0
	github.com/redis/go-redis/v9 v9.23.0
	golang.org/x/sync v0.24.0
)
