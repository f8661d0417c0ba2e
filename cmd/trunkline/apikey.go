package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/trunkline/trunkline"
)

type apikeyCmd struct {
	Create apikeyCreateCmd `cmd:"" help:"Make a key, and print it once."`
	List   apikeyListCmd   `cmd:"" help:"List the keys."`
	Revoke apikeyRevokeCmd `cmd:"" help:"Make a key worthless."`
}

func (*apikeyCmd) Help() string {
	return `A key lets a program of yours use the server's HTTP interface. Servers take changes at once.

    trunkline apikey create billing --scope publish
    trunkline apikey list
    trunkline apikey revoke billing`
}

type apikeyCreateCmd struct {
	Name  string   `arg:"" help:"What to call it: 1 to 64 bytes."`
	Scope []string `required:"" placeholder:"SCOPES" help:"What it may be used for, separated by commas: publish (to any channel), read (any channel: subscribe, history, presence), admin (all of that, namespaces, and users)."`
	TTL   string   `name:"ttl" placeholder:"TIME" help:"How long it holds, such as 90d. Default: until it is revoked."`
	JSON  bool     `name:"json" help:"Print the key and what belongs to it as a JSON object."`
}

func (*apikeyCreateCmd) Help() string {
	return `It prints the key alone on standard output. The database keeps only a hash of it: nobody can show it again.

    trunkline apikey create billing --scope publish
    trunkline apikey create dashboard --scope read --ttl 90d
    KEY=$(trunkline apikey create deploy --scope publish,read,admin)
    curl -H "Authorization: Bearer $KEY" …`
}

// createdKey is what create prints with --json.
type createdKey struct {
	Key string `json:"key"`
	listedKey
}

func (c *apikeyCreateCmd) Run(ctx context.Context, a *app) error {
	secret, key := trunkline.NewAPIKey()
	key.Name = c.Name
	for _, scope := range c.Scope {
		key.Scopes = append(key.Scopes, strings.TrimSpace(scope))
	}
	if c.TTL != "" {
		ttl, err := parsePeriod("ttl", c.TTL)
		if err != nil {
			return err
		}
		if ttl < time.Second {
			return usagef("--ttl %q is less than a second", c.TTL)
		}
		key.ExpiresAt = time.Now().Add(ttl).Truncate(time.Second)
	}
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		if err := trunkline.CreateAPIKey(ctx, conn, key); err != nil {
			return err
		}
		if c.JSON {
			key.CreatedAt = time.Now()
			return a.printJSON(createdKey{secret, listed(&key, key.CreatedAt)})
		}
		if _, err := fmt.Fprintln(a.stdout, secret); err != nil {
			return err
		}
		until := "until it is revoked"
		if !key.ExpiresAt.IsZero() {
			until = "until " + key.ExpiresAt.Local().Format(time.DateTime)
		}
		a.note("key %s may %s, %s; it is not shown again", visible(key.Name), strings.Join(key.Scopes, ", "), until)
		return nil
	})
}

type apikeyListCmd struct {
	JSON bool `name:"json" help:"Print a JSON array."`
}

func (*apikeyListCmd) Help() string {
	return `Revoked and expired ones are listed too. A key is known by what it begins with.

    trunkline apikey list
    trunkline apikey list --json | jq '.[] | select(.state == "good")'`
}

// listedKey is a key as --json prints it.
type listedKey struct {
	Name      string     `json:"name"`
	Prefix    string     `json:"prefix"`
	Scopes    []string   `json:"scopes"`
	State     string     `json:"state"` // good, expired or revoked
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
}

func listed(k *trunkline.APIKey, now time.Time) listedKey {
	out := listedKey{Name: k.Name, Prefix: k.Prefix, Scopes: k.Scopes, State: "good", CreatedAt: k.CreatedAt.UTC()}
	if !k.ExpiresAt.IsZero() {
		expires := k.ExpiresAt.UTC()
		out.ExpiresAt = &expires
	}
	if !k.RevokedAt.IsZero() {
		revoked := k.RevokedAt.UTC()
		out.RevokedAt = &revoked
	}
	switch {
	case out.RevokedAt != nil:
		out.State = "revoked"
	case !k.Good(now):
		out.State = "expired"
	}
	return out
}

func (c *apikeyListCmd) Run(ctx context.Context, a *app) error {
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		keys, err := trunkline.ListAPIKeys(ctx, conn)
		if err != nil {
			return err
		}
		now := time.Now()
		out := make([]listedKey, 0, len(keys))
		rows := make([][]string, 0, len(keys))
		for i := range keys {
			k := listed(&keys[i], now)
			out = append(out, k)
			rows = append(rows, []string{k.Name, k.Prefix + "…", strings.Join(k.Scopes, ","), k.State, when(&k.CreatedAt), when(k.ExpiresAt)})
		}
		if c.JSON {
			return a.printJSON(out)
		}
		if len(rows) == 0 {
			a.note("there are no API keys: trunkline apikey create NAME --scope SCOPES makes one")
			return nil
		}
		return a.printTable([]string{"NAME", "KEY", "SCOPES", "STATE", "CREATED", "EXPIRES"}, rows)
	})
}

func when(at *time.Time) string {
	if at == nil {
		return "never"
	}
	return at.Local().Format(time.DateTime)
}

type apikeyRevokeCmd struct {
	Name string `arg:"" help:"The key's name."`
}

func (*apikeyRevokeCmd) Help() string {
	return `Who uses it is refused from then on. The name can be given to another key.

    trunkline apikey revoke billing`
}

func (c *apikeyRevokeCmd) Run(ctx context.Context, a *app) error {
	return a.withConnection(ctx, func(conn *pgx.Conn) error {
		if err := trunkline.RevokeAPIKey(ctx, conn, c.Name); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.stdout, "key %s is revoked\n", visible(c.Name))
		return err
	})
}
