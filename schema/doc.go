// Package schema owns the database: opening it, its migrations, transactions with retry,
// and the few things in which MariaDB/MySQL and SQLite differ.
//
// Statements live with the packages whose tables they touch and are written once, in the
// SQL that both dialects share; booleans are 0 and 1, times are Micros. A migration is one
// file for both dialects, in which a few {{words}} stand for what differs (see words in
// migrate.go). Migrations only add: an old binary and a new schema work together.
package schema
