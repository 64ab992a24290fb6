// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/grpcauth/grpcauth/store"
)

// What is wrong with a refresh token, returned or wrapped. Any other error of a [Refresher] means that it could not decide: the store could not be asked, or
// a write may have happened or not. To try again is safe.
var (
	// ErrInvalid is a text that is no refresh token, or one of a family that is not known, any more.
	ErrInvalid = errors.New("not a refresh token of a known family")
	// ErrExpired is a token of a family that was idle for too long or has come to its end.
	ErrExpired = errors.New("the family of the refresh token has expired")
	// ErrReused is a token that was used before. Its family has been ended.
	ErrReused = errors.New("the refresh token was used before")
	// ErrRevoked is a token of a family that was ended.
	ErrRevoked = errors.New("the family of the refresh token was revoked")
	// ErrOtherClient is a token that another client was given, or one with another certificate. It does not end the family.
	ErrOtherClient = errors.New("the refresh token is another client's")
)

// errBusy means that a record was changed by others each time that it was to be changed.
var errBusy = errors.New("token: the record is changed by too many at once")

// maxRounds is how often a change is tried that others get in the way of.
const maxRounds = 16

// maxGrace keeps the time short in which a token is good twice.
const maxGrace = time.Minute

// RefreshOptions say how long families live. Store is required.
type RefreshOptions struct {
	// Store keeps one record for each family, with hashes of its tokens. Families of different issuers need different stores.
	Store store.Store
	// Idle is how long after its last use a family ends; 14 days by default.
	Idle time.Duration
	// Absolute is how long after its start a family ends, however it is used; 90 days by default.
	Absolute time.Duration
	// Grace is for how long after its first use a token may be used once more, at most a minute, by a client that lost the answer: it gets the same successor
	// again, as long as that was not used. By default there is none: a second use ends the family, since nobody can tell the
	// client from a thief (RFC 9700, section 4.14.2), and a client that lost an answer must log in again. With grace, a thief who is as fast as the client
	// gets the successor too, and is found out one step later, when the second of the two uses it. Ten seconds are a good choice for clients in networks that
	// lose answers.
	Grace time.Duration
	// GraceUses is how often the grace of one token may be used; once by default.
	GraceUses int
	// Check is asked at each rotation, before anything is changed: whether the user is still there, was disabled, or proved herself too long ago. It may take
	// Scopes and Audiences out of the grant, for good, and replace Data; it may change nothing else. Its error is returned, wrapped, and nothing is rotated:
	// one that wraps [ErrRevoked], or an AuthenticationError, refuses; any other means that it could not be decided.
	Check func(ctx context.Context, grant *Grant) error
	// OnReuse is told of each token that was used before and is shown again, for the audit log. It is called once the family was ended, or failed to be.
	OnReuse func(ctx context.Context, reuse Reuse)
	// Denylist also stops the access tokens of families that are ended, if they were signed with their [Claims].Family.
	Denylist *Denylist
	// Now replaces time.Now.
	Now func() time.Time
}

// Grant is what a family of refresh tokens stands for.
type Grant struct {
	// Family is the ID of the family, which is no secret and opens nothing. Start makes it.
	Family string
	// Subject is the user, at most 255 bytes.
	Subject string
	// ClientID is the program that may use the tokens; any that says it has none, if it is empty.
	ClientID string
	// CertSHA256 binds the tokens to a client certificate, by its SHA-256 thumbprint in unpadded base64url, if it is not empty.
	CertSHA256 string
	// Scopes and Audiences are the most that access tokens may have.
	Scopes, Audiences []string
	// AuthTime and ACR are when and how the person proved herself.
	AuthTime time.Time
	ACR      string
	// Started is when the family began and Used when its token was last rotated. Start sets them.
	Started, Used time.Time
	// End is when the family ends, however it is used. Start sets it, unless it is sooner than [RefreshOptions].Absolute allows.
	End time.Time
	// Data is the application's, at most 32 KiB.
	Data []byte
}

// Claims are those of an access token for all that the grant allows. Name, DPoP key and claims of one's own may be added.
func (g *Grant) Claims() Claims {
	return Claims{
		Subject: g.Subject, ClientID: g.ClientID, Audiences: slices.Clone(g.Audiences), Scopes: slices.Clone(g.Scopes),
		AuthTime: g.AuthTime, ACR: g.ACR, CertSHA256: g.CertSHA256, Family: g.Family, NotAfter: g.End,
	}
}

// Client is who shows a refresh token.
type Client struct {
	// ID is its name, which the caller has made sure of as well as it can.
	ID string
	// CertSHA256 is the thumbprint of the certificate of its connection, if that has one that was verified.
	CertSHA256 string
}

// Reuse is the event that a refresh token was shown again after it was used: two have it, and one of them stole it.
type Reuse struct {
	Grant Grant
	By    Client
	Time  time.Time
	// Ended is false if the family could not be ended now: the caller was told that nothing was decided. It is true also if it had been ended before.
	Ended bool
}

// Refresher keeps families of refresh tokens. Tokens are random, each is good once, and the store sees only hashes of them. It is safe for concurrent use, as are
// several with one store.
type Refresher struct {
	opts   RefreshOptions
	linger time.Duration // how long records outlive their families, so that access tokens that do can still be revoked
}

// NewRefresher returns a refresher. An error names the option that is wrong and says what to write.
func NewRefresher(opts RefreshOptions) (*Refresher, error) {
	if opts.Idle == 0 {
		opts.Idle = 14 * 24 * time.Hour
	}
	if opts.Absolute == 0 {
		opts.Absolute = 90 * 24 * time.Hour
	}
	if opts.GraceUses == 0 {
		opts.GraceUses = 1
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	r := &Refresher{opts: opts, linger: time.Hour}
	switch {
	case opts.Store == nil:
		return nil, errors.New("token: RefreshOptions.Store is nil: give it the store that all servers share")
	case opts.Idle < 0 || opts.Absolute < 0:
		return nil, errors.New("token: RefreshOptions.Idle or Absolute is negative: write how long families live")
	case opts.Grace < 0 || opts.Grace > maxGrace:
		return nil, fmt.Errorf("token: RefreshOptions.Grace is %v: write a value from 0 to %v", opts.Grace, maxGrace)
	case opts.GraceUses < 0:
		return nil, errors.New("token: RefreshOptions.GraceUses is negative: write how often the grace of one token may be used")
	}
	if opts.Denylist != nil {
		r.linger = max(r.linger, opts.Denylist.opts.MaxLifetime+margin)
	}
	return r, nil
}

// Start begins a family, at login, and returns its first token.
func (r *Refresher) Start(ctx context.Context, grant Grant) (text string, g *Grant, err error) {
	now := r.opts.Now()
	grant = grant.clone()
	grant.Family, grant.Started, grant.Used = random(familySize), now, now
	if end := now.Add(r.opts.Absolute); grant.End.IsZero() || grant.End.After(end) {
		grant.End = end
	}
	if err := grant.check(now); err != nil {
		return "", nil, fmt.Errorf("token: Grant.%w", err)
	}
	t := newText(grant.Family)
	f := &family{Grant: grant, Proof: hash(t.proof), Current: hash(t.secret)}
	if err := r.put(ctx, f); err != nil {
		return "", nil, err
	}
	g = f.grant()
	return t.String(), g, nil
}

func (g *Grant) check(now time.Time) error {
	switch {
	case bad(maxSubject)(g.Subject):
		return fmt.Errorf("Subject is empty, not UTF-8 or longer than %d bytes", maxSubject)
	case g.ClientID != "" && bad(maxText)(g.ClientID):
		return fmt.Errorf("ClientID is not UTF-8 or longer than %d bytes", maxText)
	case g.CertSHA256 != "" && !isThumbprint(g.CertSHA256):
		return errors.New("CertSHA256 is not the unpadded base64url of a SHA-256 digest")
	case slices.ContainsFunc(g.Scopes, func(s string) bool { return !isScope(s) }):
		return errors.New("Scopes has one that is empty or has a character that scopes do not have")
	case slices.ContainsFunc(g.Audiences, bad(maxText)):
		return errors.New("Audiences has one that is empty, too long or not UTF-8")
	case len(g.ACR) > maxText || !utf8.ValidString(g.ACR):
		return fmt.Errorf("ACR is not UTF-8 or longer than %d bytes", maxText)
	case !g.End.After(now):
		return errors.New("End has passed")
	case len(g.Data) > maxData:
		return fmt.Errorf("Data has %d bytes, more than %d", len(g.Data), maxData)
	}
	return nil
}

// Rotate takes a token of a client and returns its successor, with what the family stands for now. After an error the token is as good as before, unless the
// store did not say whether it has written: then it may have been used.
//
// A token that was used before ends its family and the access tokens of that, and the error is ErrReused; but see [RefreshOptions].Grace. Of
// several calls with one token at the same time, one succeeds, and the others are such second uses.
func (r *Refresher) Rotate(ctx context.Context, text string, by Client) (next string, g *Grant, err error) {
	t, ok := parseText(text)
	if !ok {
		return "", nil, ErrInvalid
	}
	successor := newText(t.family)
	successor.proof = t.proof
	for range maxRounds {
		f, err := r.find(ctx, t)
		if err != nil {
			return "", nil, err
		}
		if f.isCurrent(successor) { // the last round's write was one that the store denied
			return successor.String(), f.grant(), nil
		}
		now := r.opts.Now()
		give := successor
		switch {
		case f.ClientID != by.ID || f.CertSHA256 != "" && !equal(f.CertSHA256, by.CertSHA256):
			return "", nil, ErrOtherClient
		case f.Dead != "" && f.isCurrent(t):
			return "", nil, ErrRevoked
		case f.Dead == "" && r.expired(f, now):
			return "", nil, ErrExpired
		case f.Dead == "" && f.isCurrent(t):
		case f.Dead == "" && r.grace(f, t, now):
			if give, err = f.open(t); err != nil {
				return "", nil, err
			}
		default:
			if err := r.reused(ctx, f, by, now); !errors.Is(err, store.ErrConflict) {
				return "", nil, err
			}
			continue
		}
		if err := r.check(ctx, f); err != nil {
			return "", nil, err
		}
		if f.isCurrent(t) {
			err = f.advance(t, successor, now, r.opts.Grace > 0)
		} else {
			f.GraceUsed++
		}
		if err == nil {
			err = r.put(ctx, f)
		}
		if err == nil {
			return give.String(), f.grant(), nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return "", nil, err
		}
	}
	return "", nil, errBusy
}

// expired reports whether a family has come to its end.
func (r *Refresher) expired(f *family, now time.Time) bool {
	return !now.Before(f.End) || !now.Before(f.Used.Add(r.opts.Idle))
}

// grace reports whether a token that was used may be used again. Clocks of servers differ, so the first use may seem to be a moment to come.
func (r *Refresher) grace(f *family, t text, now time.Time) bool {
	return now.Sub(f.Used).Abs() < r.opts.Grace && f.GraceUsed < r.opts.GraceUses && len(f.Sealed) > 0 && f.Previous != nil && equal(string(f.Previous), string(hash(t.secret)))
}

// check has the application look at the grant, and takes over what it may change.
func (r *Refresher) check(ctx context.Context, f *family) error {
	if r.opts.Check == nil {
		return nil
	}
	g := f.grant()
	if err := r.opts.Check(ctx, g); err != nil {
		return fmt.Errorf("token: Check: %w", err)
	}
	if err := f.Grant.narrow(g); err != nil {
		return fmt.Errorf("token: Check: %w", err)
	}
	return nil
}

// narrow takes over what a Check left of a grant.
func (g *Grant) narrow(to *Grant) error {
	more := func(of, than []string) bool {
		return slices.ContainsFunc(of, func(s string) bool { return !slices.Contains(than, s) })
	}
	switch {
	case more(to.Scopes, g.Scopes):
		return errors.New("it added a scope: a family never gets more than it began with")
	case more(to.Audiences, g.Audiences):
		return errors.New("it added an audience: a family never gets more than it began with")
	case len(to.Audiences) == 0 && len(g.Audiences) > 0:
		return errors.New("it took all audiences: none would mean all that the issuer has, so return an error instead")
	case len(to.Data) > maxData:
		return fmt.Errorf("Data has %d bytes, more than %d", len(to.Data), maxData)
	case to.Family != g.Family || to.Subject != g.Subject || to.ClientID != g.ClientID || to.CertSHA256 != g.CertSHA256 || to.ACR != g.ACR ||
		!to.AuthTime.Equal(g.AuthTime) || !to.Started.Equal(g.Started) || !to.Used.Equal(g.Used) || !to.End.Equal(g.End):
		return errors.New("it changed more than Scopes, Audiences and Data")
	}
	changed := to.clone()
	g.Scopes, g.Audiences, g.Data = changed.Scopes, changed.Audiences, changed.Data
	return nil
}

// reused ends a family of which a token was used twice, and tells of it. The error is ErrReused once the family is known to be ended, and ErrConflict if the
// family must be looked at again.
func (r *Refresher) reused(ctx context.Context, f *family, by Client, now time.Time) error {
	// To hang up does not keep the family alive.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	grant := *f.grant()
	err := r.end(ctx, f, causeReuse)
	if errors.Is(err, store.ErrConflict) {
		return err
	}
	if r.opts.OnReuse != nil {
		r.opts.OnReuse(ctx, Reuse{Grant: grant, By: by, Time: now, Ended: err == nil})
	}
	if err != nil {
		return err
	}
	return ErrReused
}
