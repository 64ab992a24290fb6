// SPDX-License-Identifier: Apache-2.0

package bearer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/grpcauth/grpcauth"
	"github.com/grpcauth/grpcauth/backends/bearer"
)

func TestInvalidateForgetsAtOnceWhomItMatches(t *testing.T) {
	t.Parallel()
	j := anybody()
	b := newBackend(t, j, bearer.Options{})
	for range 2 {
		expect(t, b, "alice", "alice")
		expect(t, b, "bob", "bob")
	}
	expectAsked(t, j, 2)
	b.Invalidate(func(u *grpcauth.User) bool { return u.ID == "alice" })
	j.verify = only("bob").Verify
	expect(t, b, "alice", refused)
	expect(t, b, "bob", "bob")
	expectAsked(t, j, 3)
	b.Invalidate(func(*grpcauth.User) bool { return true })
	expect(t, b, "bob", "bob")
	expectAsked(t, j, 4)
}

func TestInvalidateShowsCopies(t *testing.T) {
	t.Parallel()
	b := newBackend(t, anybody(), bearer.Options{})
	expect(t, b, "alice", "alice")
	b.Invalidate(func(u *grpcauth.User) bool { u.ID = "eve"; return false })
	expect(t, b, "alice", "alice")
}

// A judgement that began before the news may rest on what was true before it.
func TestJudgementThatBeganBeforeAnInvalidateCountsForNobodyAfterIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		revoked, release := false, make(chan struct{})
		j := &judge{verify: func(context.Context, string) (*grpcauth.User, error) {
			if revoked {
				return nil, grpcauth.Errorf(grpcauth.CodeInvalid, "revoked")
			}
			<-release
			return &grpcauth.User{ID: "alice"}, nil
		}}
		b := newBackend(t, j, bearer.Options{})
		answers := make(chan string, 2)
		go func() { answers <- look(t.Context(), b, "a") }()
		synctest.Wait()
		revoked = true
		b.Invalidate(func(*grpcauth.User) bool { return true })
		go func() { answers <- look(t.Context(), b, "a") }()
		if got := <-answers; got != refused {
			t.Errorf("who came after the revocation got %s, want %s", got, refused)
		}
		close(release)
		if got := <-answers; got != "alice" {
			t.Errorf("who came before the revocation got %s, want alice", got)
		}
		expect(t, b, "a", refused) // the late acceptance was not remembered
		expectAsked(t, j, 2)
	})
}

// prover accepts every token as alice's for as long as the key of its proofs is good.
type prover struct {
	*judge
	gone  error // why proofs do not hold
	asked int
}

func (p *prover) VerifyProof(ctx context.Context, token string) (*grpcauth.User, bearer.Proof, error) {
	user, err := p.Verify(ctx, token)
	return user, p, err
}

func (p *prover) Holds(context.Context) error {
	p.asked++
	return p.gone
}

func TestRememberedVerdictCountsOnlyWhileItsProofHolds(t *testing.T) {
	t.Parallel()
	p := &prover{judge: anybody()}
	b := newBackend(t, p, bearer.Options{})
	for range 4 {
		expect(t, b, "a", "a")
	}
	expectAsked(t, p.judge, 1)
	if p.asked != 3 {
		t.Errorf("the proof was asked %d times, want on each call with a remembered verdict: 3", p.asked)
	}
	p.gone = errors.New("the key is gone")
	expect(t, b, "a", "a") // judged again
	expectAsked(t, p.judge, 2)
	p.verify = only().Verify
	expect(t, b, "a", refused)
	p.gone = nil
	expect(t, b, "a", refused) // the acceptance is forgotten for good
	expectAsked(t, p.judge, 3)
}

// Who joins a judgement may have come after news that it could not take into account.
func TestSharedJudgementCountsOnlyWhileItsProofHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := &prover{judge: anybody()}
		p.verify = func(_ context.Context, token string) (*grpcauth.User, error) {
			<-release
			return &grpcauth.User{ID: token}, nil
		}
		b := newBackend(t, p, bearer.Options{})
		go expect(t, b, "a", "a")
		synctest.Wait()
		go expect(t, b, "a", refused)
		synctest.Wait()
		p.gone, p.verify = errors.New("revoked"), only().Verify
		close(release)
		synctest.Wait()
		expectAsked(t, p.judge, 2)
	})
}

func TestProofThatCannotBeAskedIsNoAcceptance(t *testing.T) {
	t.Parallel()
	p := &prover{judge: anybody()}
	b := newBackend(t, p, bearer.Options{})
	expect(t, b, "a", "a")
	p.gone = errors.New("the set cannot be asked")
	p.verify = func(context.Context, string) (*grpcauth.User, error) { return nil, p.gone }
	for range 2 {
		expect(t, b, "a", undecided)
	}
}

// proofless is a prover whose verdicts rest on nothing else.
type proofless struct{ *judge }

func (p proofless) VerifyProof(ctx context.Context, token string) (*grpcauth.User, bearer.Proof, error) {
	user, err := p.Verify(ctx, token)
	return user, nil, err
}

func TestVerdictWithoutProofHolds(t *testing.T) {
	t.Parallel()
	j := anybody()
	b := newBackend(t, proofless{j}, bearer.Options{})
	for range 3 {
		expect(t, b, "a", "a")
	}
	expectAsked(t, j, 1)
}
