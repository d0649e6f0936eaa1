package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/servers/lifecycle"
)

// apiKey is the name of the APIs' key in the database's list of check values.
const apiKey = "api"

func keyFile(dir string) string { return filepath.Join(dir, "secrets.key") }

// hostKey gives the keys of a host whose daemon has this state folder.
func hostKey(dir, host string) (*secrets.HostKey, error) {
	key, err := secrets.LoadOrMake(keyFile(dir))
	if err != nil {
		return nil, err
	}
	return key.Host(host)
}

// openKey opens the key that all API processes of a database should share, and makes one
// where there is none. A process with another key than the database was written with says
// so: it works, but cannot read what the others keep.
func openKey(ctx context.Context, db *schema.DB, dir string) (*secrets.Key, error) {
	key, err := secrets.LoadOrMake(keyFile(dir))
	if err != nil {
		return nil, err
	}
	own, err := key.CheckValue()
	if err != nil {
		return nil, err
	}
	recorded, err := db.ClaimKey(ctx, apiKey, own)
	if err != nil {
		return nil, err
	}
	if recorded != own {
		slog.WarnContext(ctx, otherKey, "file", keyFile(dir), "mend", mendKey)
	}
	return key, nil
}

// otherKey is what is wrong, and costs: a server whose build failed on one host, and that
// this process gives to the next, gets no administrator's password there.
const otherKey = "this key of secrets is not the one that the database was written with: passwords of servers that must be tried on another host may be lost"

// mendKey is what to do about a key that is not there.
const mendKey = "copy secrets.key from the state folder of the other API processes, or of a backup; if it is lost, run kilonova db reset-key"

func resetKeyCommand(p *process) *cobra.Command {
	return &cobra.Command{
		Use: "reset-key", Short: "Forget the key of secrets after its file was lost", Args: cobra.NoArgs,
		Long: "Forget the key with which the API processes wrote their secrets to the database, after all\n" +
			"copies of its file, secrets.key in their state folder, were lost. The next process that starts\n" +
			"makes another one, which the others must share. What is lost with the key: a server that is\n" +
			"being built, and must be tried on another host, gets no administrator's password there.",
		RunE: func(c *cobra.Command, _ []string) error {
			db, err := p.Database.open(c.Context())
			if err != nil {
				return err
			}
			defer db.Close()
			err = lifecycle.ForgetKept(c.Context(), db)
			if err == nil {
				err = db.ForgetKey(c.Context(), apiKey)
			}
			return err
		},
	}
}

// checkKey holds the key of a state folder against the database.
func checkKey(ctx context.Context, db *schema.DB, dir string) finding {
	recorded, err := db.KeyCheck(ctx, apiKey)
	if err != nil || recorded == "" {
		return finding{ok: true, what: "the database has no key of secrets yet"}
	}
	key, err := secrets.Load(keyFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return finding{fine: true, what: "there is no secrets.key in " + dir, mend: "where an API process runs: " + mendKey}
	}
	own := ""
	if err == nil {
		own, err = key.CheckValue()
	}
	switch {
	case err != nil:
		return finding{what: "the key of secrets cannot be read", mend: err.Error()}
	case own != recorded: // a host's folder has a key of its own
		return finding{fine: true, what: "the key in " + keyFile(dir) + " is not the one that the database was written with", mend: "where an API process runs: " + mendKey}
	}
	return finding{ok: true, what: "the key of secrets is the database's"}
}
