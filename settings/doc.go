// Package settings is where a program's configuration comes from: a struct declares each
// setting once, in the tags of a field, and from it come a flag, a variable of the
// environment, a key of a YAML file and the words that explain it. Flags win over the
// environment, the environment over the file, the file over the default. What is wrong is
// told with its place: a flag, a variable, or a file and its line.
package settings
