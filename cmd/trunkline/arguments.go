package main

import (
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/kong"
)

// checkArguments refuses what would be changed, or taken for something that wasn't given, on its way through the parser:
// arguments that are not UTF-8, and flags with an empty value. What stands behind psql is psql's.
func checkArguments(model *kong.Application, args []string) error {
	switches := map[string]bool{"help": true}
	for _, node := range append([]*kong.Node{model.Node}, model.Children...) {
		for _, flag := range node.Flags {
			if flag.IsBool() {
				switches[flag.Name] = true
			}
		}
	}
	var command *kong.Node
	positionals, onlyPositionals := 0, false
	for i := 0; i < len(args); i++ {
		flag, isFlag := strings.CutPrefix(args[i], "--")
		if isFlag && !onlyPositionals {
			if flag == "" {
				onlyPositionals = true
				continue
			}
			name, value, joined := strings.Cut(flag, "=")
			if !utf8.ValidString(name) {
				return usagef("flag %q is not UTF-8", "--"+name)
			}
			if !joined {
				if i+1 == len(args) || switches[name] {
					continue
				}
				i++
				value = args[i]
			}
			if err := checkFlagValue(name, value); err != nil {
				return err
			}
			continue
		}
		if command == nil {
			command = commandOf(model, args[i])
			if command == nil || command.Passthrough {
				break
			}
			continue
		}
		if !utf8.ValidString(args[i]) {
			return usagef("%s %q is not UTF-8", positionalName(command, positionals), args[i])
		}
		positionals++
	}
	return nil
}

func checkFlagValue(name, value string) error {
	switch {
	case value == "":
		return usagef("--%s is empty: give a value, or leave it out", name)
	case !utf8.ValidString(value):
		return usagef("--%s %q is not UTF-8", name, value)
	}
	return nil
}

func commandOf(model *kong.Application, name string) *kong.Node {
	for _, node := range model.Children {
		if node.Name == name {
			return node
		}
	}
	return nil
}

// positionalName is what a command calls an argument; the last may repeat.
func positionalName(command *kong.Node, n int) string {
	if len(command.Positional) == 0 {
		return "argument"
	}
	name := command.Positional[min(n, len(command.Positional)-1)].Name
	if name == "json" {
		return "payload"
	}
	return name
}
