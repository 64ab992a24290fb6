// SPDX-License-Identifier: Apache-2.0

package clientauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxTokenFile is the size of the largest file that is read.
	maxTokenFile = 16 << 10
	// fileInterval is how often a file is looked at, at most.
	fileInterval = time.Second
)

// FileSource is a [Source] whose token somebody else writes to a file, anew from time to time, as Kubernetes does for service accounts. It is safe for
// concurrent use. Make it with [File].
type FileSource struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	looked time.Time   // guarded by mu, like all below: when the file was looked at
	info   os.FileInfo // of the file that the token was read from
	token  string
}

// File returns a source that reads the token from a file, again when the file has changed, at most once a second.
//
// The file holds a token and perhaps a line break behind it. While it cannot be read, or holds something else because it is being written, the token before
// is used; the server knows when that has expired. The error says why there is no token at first.
func File(path string, opts Options) (*FileSource, error) {
	opts, err := opts.ready()
	if err != nil {
		return nil, err
	}
	f := &FileSource{path: path, now: opts.Now}
	_, err = f.Token(context.Background())
	return f, err
}

// Format prints the path, whatever the verb.
func (f *FileSource) Format(s fmt.State, _ rune) {
	if f == nil {
		_, _ = io.WriteString(s, "<nil>")
		return
	}
	_, _ = fmt.Fprintf(s, "FileSource(%q)", f.path)
}

// Token returns the token in the file.
func (f *FileSource) Token(context.Context) (Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if age := now.Sub(f.looked); f.token == "" || age >= fileInterval || age < 0 {
		f.looked = now
		if err := f.look(); err != nil && f.token == "" {
			return Token{}, fmt.Errorf("clientauth: the token file: %w", err)
		}
	}
	return Token{Value: f.token}, nil
}

// look reads the file if it has changed.
func (f *FileSource) look() error {
	info, err := os.Stat(f.path) // follows the links by which Kubernetes replaces a file
	if err != nil {
		return err
	}
	if f.info != nil && os.SameFile(f.info, info) && f.info.ModTime().Equal(info.ModTime()) && f.info.Size() == info.Size() {
		return nil
	}
	token, err := readToken(f.path)
	if err != nil {
		return err
	}
	f.token, f.info = token, info
	return nil
}

func readToken(path string) (string, error) {
	file, err := os.Open(path) //nolint:gosec // the path is the caller's own
	if err != nil {
		return "", err
	}
	defer file.Close() //nolint:errcheck // it is only read
	text, err := io.ReadAll(io.LimitReader(file, maxTokenFile+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxTokenFile:
		return "", fmt.Errorf("it has more than %d bytes", maxTokenFile)
	}
	return parseToken(string(text))
}

// parseToken takes a token with at most one line break behind it.
func parseToken(text string) (string, error) {
	token := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if checkToken(token) != nil {
		return "", errors.New("it holds something else than one token")
	}
	return token, nil
}
