package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"syscall"

	"kilonova/private"
	"kilonova/schema"
)

const (
	dbVar     = "KILONOVA_DB"
	dbFileVar = "KILONOVA_DB_FILE"
)

// find gives the address, "" where none was given.
func (c *databaseConfig) find() (string, error) {
	if c.File != "" {
		return readAddress(c.File)
	}
	return c.Address, nil
}

// need is find where there must be one.
func (c *databaseConfig) need() (string, error) {
	address, err := c.find()
	if err == nil && address == "" {
		return "", fmt.Errorf("which database? give --db-file, %s or --db", dbVar)
	}
	return address, err
}

// readAddress reads a file that holds an address on a line of its own, perhaps as
// `KILONOVA_DB='...'`, which is what `kilonova host add` prints and service managers read.
func readAddress(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the database address: %w", err)
	}
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&^private.File&0o077 != 0 {
		slog.Warn("the file of the database address can be read by other accounts", "file", path, "mode", st.Mode().Perm())
	}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimPrefix(strings.TrimPrefix(line, "export "), dbVar+"=")
		for _, quote := range []string{"'", `"`} {
			if inner, ok := strings.CutPrefix(line, quote); ok && strings.HasSuffix(inner, quote) {
				line = strings.TrimSuffix(inner, quote)
			}
		}
		return line, nil
	}
	return "", fmt.Errorf("read the database address: there is none in %s", path)
}

// secretWord matches an argument that may hold a password: a database address of any form.
var secretWord = regexp.MustCompile(`^(mysql:(//)?)?[^/:@]*:([^@]+@|@.*@)`)

// withoutPassword takes a database address that holds a password out of a command line, and
// gives both.
func withoutPassword(args []string) (rest []string, address string) {
	for i := 0; i < len(args); i++ {
		value, joined := strings.CutPrefix(args[i], "--db=")
		apart := args[i] == "--db" && i+1 < len(args)
		if apart {
			value = args[i+1]
		}
		if (joined || apart) && secretWord.MatchString(value) {
			address = value
			if apart {
				i++
			}
			continue
		}
		rest = append(rest, args[i])
	}
	return rest, address
}

// hidePassword starts the program again, as the same process, when a password is on its
// command line, with the address in the environment instead: the command line of a process
// is everybody's to read for as long as it lives.
func hidePassword() error {
	rest, address := withoutPassword(os.Args)
	if address == "" {
		return nil
	}
	slog.Warn("a password on the command line can be read by other accounts until the program has started: give --db-file or " + dbVar + " instead of --db")
	self, err := os.Executable()
	if err == nil {
		err = errors.Join(os.Setenv(dbVar, address), os.Unsetenv(dbFileVar))
	}
	if err == nil {
		err = syscall.Exec(self, rest, os.Environ())
	}
	return fmt.Errorf("hide the database's password: %w", err)
}

// checkDBFile looks at the file of the address.
func checkDBFile(path string) finding {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return finding{what: "the file of the database address cannot be read", mend: err.Error()}
	case st.Mode().Perm()&0o077 != 0:
		return finding{what: fmt.Sprintf("other accounts can read the database's password in %s (%04o)", path, st.Mode().Perm()), mend: "chmod 600 " + path}
	}
	return finding{ok: true, what: "no other account reads " + path}
}

// open opens the database that the flags name.
func (c *databaseConfig) open(ctx context.Context) (*schema.DB, error) {
	address, err := c.need()
	if err != nil {
		return nil, err
	}
	return schema.Open(ctx, address)
}

// openThere opens a database that there is: to look at one makes none.
func (c *databaseConfig) openThere(ctx context.Context) (*schema.DB, error) {
	address, err := c.need()
	if err != nil {
		return nil, err
	}
	if path := schema.FilePath(address); path != "" {
		_, err = os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("there is no database at %s: %w", path, err)
		}
	}
	return c.open(ctx)
}
