package main

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// A configFile gives flags their values where neither the command line nor the environment does. It is YAML: a mapping from
// the names of flags, without their dashes, to a value, or to a list of values for flags that may be repeated.
type configFile struct {
	read sync.Once
	// err is why the file can't be taken. It is kept beside what the parser returns, which would name the flag that happened
	// to be looked up first.
	err    error
	values map[string]any // a string, or []any of strings
}

// value returns what the file says of a flag, nil if nothing.
func (f *configFile) value(parsed *kong.Context, flag *kong.Flag, env func(string) (string, bool)) (any, error) {
	if flag.Name == configFlag || flag.Name == "help" {
		return nil, nil //nolint:nilnil // as kong has it: there is none
	}
	f.read.Do(func() {
		name := configName(parsed, env)
		if name == "" {
			return
		}
		f.values, f.err = readConfig(name, flagsOf(parsed))
	})
	if f.err != nil {
		return nil, f.err
	}
	return f.values[flag.Name], nil
}

// configFlag is the flag that names the file; commands without it have none.
const configFlag = "config"

// configName is the file that the command line names, else the environment.
func configName(parsed *kong.Context, env func(string) (string, bool)) string {
	for _, flag := range parsed.Flags() {
		if flag.Name != configFlag {
			continue
		}
		if name, ok := parsed.FlagValue(flag).(string); ok && name != "" {
			return name
		}
		if name, _ := env(variable(configFlag)); name != "" { // "" would expand to the folder one is in
			return kong.ExpandPath(name)
		}
	}
	return ""
}

// flagsOf are the flags that the command takes, by name.
func flagsOf(parsed *kong.Context) map[string]*kong.Flag {
	flags := map[string]*kong.Flag{}
	for _, flag := range parsed.Flags() {
		if flag.Name != configFlag && flag.Name != "help" {
			flags[flag.Name] = flag
		}
	}
	return flags
}

// readConfig reads a file whose keys have to be among the flags.
func readConfig(name string, flags map[string]*kong.Flag) (map[string]any, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usagef("--config: %s", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, usagef("--config %s is not YAML: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(document.Content) == 0 {
		return nil, nil // empty, or nothing but comments
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, usagef("--config %s has no settings: write one a line, as in listen: 127.0.0.1:8000", name)
	}
	values := map[string]any{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := fmt.Sprintf("%s, line %d", name, key.Line)
		flag, ok := flags[key.Value]
		if !ok {
			return nil, usagef("%s: there is no setting %q; the nearest is %s", at, key.Value, nearest(key.Value, flags))
		}
		if _, ok := values[key.Value]; ok {
			return nil, usagef("%s: %s is given twice: leave one out", at, key.Value)
		}
		if values[key.Value], err = configValue(flag, value); err != nil {
			return nil, usagef("%s: %s %s", at, key.Value, err)
		}
	}
	return values, nil
}

// configValue is the text that would stand behind the flag, or a list of such texts.
func configValue(flag *kong.Flag, node *yaml.Node) (any, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.ScalarNode:
		if node.Tag == "!!null" || node.Value == "" {
			return nil, fmt.Errorf("is empty: give a value, or leave it out")
		}
		if flag.IsSlice() {
			return []any{node.Value}, nil
		}
		return node.Value, nil
	case yaml.SequenceNode:
		if !flag.IsSlice() {
			return nil, fmt.Errorf("takes one value, not a list")
		}
		list := []any{}
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" || item.Value == "" {
				return nil, fmt.Errorf("has an item in line %d that is no text: give a list of values", item.Line)
			}
			list = append(list, item.Value)
		}
		return list, nil
	}
	return nil, fmt.Errorf("takes a value, not settings of its own")
}

// nearest is the flag whose name takes the fewest changes of a letter; of several, the first by the alphabet.
func nearest(name string, flags map[string]*kong.Flag) string {
	best, least := "", 0
	for candidate := range flags {
		if n := distance(name, candidate); best == "" || n < least || (n == least && candidate < best) {
			best, least = candidate, n
		}
	}
	return best
}

// distance is how many letters have to be put in, taken out or replaced to make one text of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
