module github.com/leashcache/leash/demo

go 1.26.0

// The demo shows the tree it lies in; it is never tagged.
replace github.com/leashcache/leash => ..

require (
	github.com/alicebob/miniredis/v2 v2.40.0
	github.com/leashcache/leash v0.0.0-00010101000000-000000000000
	github.com/redis/go-redis/v9 v9.23.0
	golang.org/x/sync v0.24.0
	modernc.org/sqlite v1.61.1
)
