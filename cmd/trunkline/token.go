package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/trunkline/trunkline/server"
)

type tokenCmd struct {
	Sub           string        `required:"" placeholder:"USER" help:"Whose token it is: the user's id."`
	Channel       []string      `sep:"none" placeholder:"PATTERN" help:"Channel that the user may do what --allow says with; * stands for any text. Can be repeated."`
	Allow         []string      `placeholder:"LIST" help:"What: sub (subscribe), pub (publish), hst (history), prs (presence). Default: sub,hst,prs."`
	Subscribe     []string      `sep:"none" placeholder:"CHANNEL" help:"Channel that the server subscribes the user to upon connecting. Can be repeated."`
	Subscription  string        `placeholder:"CHANNEL" help:"Make a subscription token, for this one channel."`
	Info          string        `placeholder:"JSON" help:"What others see of the user in presence."`
	JTI           string        `name:"jti" placeholder:"ID" help:"The token's id, by which it can be revoked. Default: a random one."`
	TTL           time.Duration `name:"ttl" default:"1h" placeholder:"TIME" help:"How long it counts, such as 15m. Default: 1h."`
	JWTSecret     string        `name:"jwt-secret" placeholder:"SECRET" help:"The secret that serve has, of 32 bytes or more. Better given as TRUNKLINE_JWT_SECRET, which other users of the machine can't see."`
	JWTSecretFile string        `name:"jwt-secret-file" type:"path" placeholder:"FILE" help:"The same, read from a file; line ends at its end don't count."`
	JWTKey        string        `name:"jwt-key" type:"path" placeholder:"FILE" help:"Private key in PEM instead: RSA, ECDSA or Ed25519. serve has its public key."`
	JWTKeyID      string        `name:"jwt-kid" placeholder:"ID" help:"The key's id in the key set, for serve with --jwks-url."`
	JWTIssuer     string        `name:"jwt-issuer" placeholder:"TEXT" help:"Issuer, if serve asks for one."`
	JWTAudience   string        `name:"jwt-audience" placeholder:"TEXT" help:"Audience, if serve asks for one."`
}

func (*tokenCmd) Help() string {
	return `It prints the token alone, and needs neither server nor database.

    export TRUNKLINE_JWT_SECRET=$(openssl rand -base64 32)
    trunkline serve &
    trunkline token --sub ann --channel 'project:*'
    trunkline token --sub ann --channel news --channel 'room:*' --allow sub,pub --ttl 15m
    trunkline token --sub ann --subscription project:42
    curl -N -H "Authorization: Bearer $(trunkline token --sub ann --channel news)" 'http://127.0.0.1:8000/v1/stream?channel=news'

Your application makes its users' tokens with any JWT library, in the same way.`
}

func (c *tokenCmd) Run(a *app) error {
	key, err := c.key(a)
	if err != nil {
		return err
	}
	claims, err := c.claims(time.Now())
	if err != nil {
		return err
	}
	token, err := server.SignToken(claims, key)
	if err != nil {
		return usagef("no server would take the token: %s", err)
	}
	_, err = fmt.Fprintln(a.stdout, token)
	return err
}

func (c *tokenCmd) key(a *app) (server.TokenKey, error) {
	var none server.TokenKey
	switch {
	case c.JWTKey != "":
		text, err := os.ReadFile(c.JWTKey)
		if err != nil {
			return none, usagef("--jwt-key: %s", err)
		}
		key, err := server.ParseTokenKey(text)
		if err != nil {
			return none, usagef("--jwt-key %s: %s", c.JWTKey, err)
		}
		return key, nil
	case c.JWTSecret == "" && c.JWTSecretFile == "":
		return none, usagef("there is nothing to sign with: set TRUNKLINE_JWT_SECRET to the secret that serve has, or give --jwt-secret-file FILE or --jwt-key FILE")
	}
	secret, err := (&accessFlags{JWTSecret: c.JWTSecret, JWTSecretFile: c.JWTSecretFile}).secret()
	if err != nil {
		return none, err
	}
	if n := len(secret); n < shortSecret {
		a.note("trunkline: the secret is %d bytes long: whoever has one token can find a short one by trying, without a server; "+
			"use %d random bytes, as openssl rand -base64 32 makes", n, shortSecret)
	}
	return server.TokenSecret(secret), nil
}

func (c *tokenCmd) claims(now time.Time) (claims server.TokenClaims, err error) {
	switch {
	case c.TTL < time.Second:
		return claims, usagef("--ttl %s is over before the token is used: give at least 1s", c.TTL)
	case len(c.Allow) > 0 && len(c.Channel) == 0:
		return claims, usagef("--allow says what, --channel where: give a --channel too")
	case c.Subscription != "" && len(c.Channel)+len(c.Subscribe) > 0:
		return claims, usagef("--subscription makes a token for that channel alone: leave out --channel and --subscribe")
	case c.Info != "" && !json.Valid([]byte(c.Info)):
		return claims, usagef(`--info is not JSON: a text has quotes of its own, as in '"Ann"'`)
	}
	claims = server.TokenClaims{
		Subject: c.Sub, ID: c.JTI, Issuer: c.JWTIssuer, IssuedAt: now, ExpiresAt: now.Add(c.TTL),
		Info: json.RawMessage(c.Info), Caps: c.caps(), Channels: c.Subscribe, Channel: c.Subscription, KeyID: c.JWTKeyID,
	}
	if claims.ID == "" {
		claims.ID = rand.Text()
	}
	if c.JWTAudience != "" {
		claims.Audience = []string{c.JWTAudience}
	}
	return claims, nil
}

// caps says what --channel and --allow say. Names without a * are exact.
func (c *tokenCmd) caps() []server.TokenCapability {
	allow := c.Allow
	if len(allow) == 0 {
		allow = []string{"sub", "hst", "prs"}
	}
	exact := server.TokenCapability{Allow: allow}
	wildcard := server.TokenCapability{Allow: allow, Match: "wildcard"}
	for _, channel := range c.Channel {
		if strings.Contains(channel, "*") {
			wildcard.Channels = append(wildcard.Channels, channel)
		} else {
			exact.Channels = append(exact.Channels, channel)
		}
	}
	var caps []server.TokenCapability
	for _, one := range []server.TokenCapability{exact, wildcard} {
		if len(one.Channels) > 0 {
			caps = append(caps, one)
		}
	}
	return caps
}
