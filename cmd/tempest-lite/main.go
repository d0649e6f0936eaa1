// Command tempest-lite tells how faithfully a cloud speaks the OpenStack Compute API.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	tempestlite "kilonova/tempest-lite"
)

// version is set by the linker.
var version = "dev"

// exitError ends the program with a status; there is nothing more to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	err := rootCommand().Execute()
	if err == nil {
		return
	}
	var code exitError
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	fmt.Fprintln(os.Stderr, "tempest-lite:", err)
	os.Exit(tempestlite.ExitNotRun)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tempest-lite",
		Short: "Tells how faithfully a cloud speaks the OpenStack Compute API",
		Long: `tempest-lite tells how faithfully a cloud speaks the OpenStack Compute API.

It needs nothing but the cloud's HTTP services and an account, best an administrator's:
with it, it makes projects and users of its own, and takes them away at its end.

  tempest-lite run --cloud mine              check a cloud of clouds.yaml
  tempest-lite run --only '^servers\.'       some operations only
  tempest-lite list --area servers           what there is
  tempest-lite explain servers.show/works    what one check sends and expects`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(runCommand(), listCommand(), explainCommand())
	return root
}
