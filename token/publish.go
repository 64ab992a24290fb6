// SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/grpcauth/grpcauth/internal/jws"
)

// ServeHTTP serves the JWK set (RFC 7517, section 5): the public keys that verify tokens now or will soon. Secrets are not among them.
func (r *Ring) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	document := r.document(req.Context())
	sum := sha256.Sum256(document)
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(r.maxAge/time.Second)))
	h.Set("ETag", `"`+base64url.EncodeToString(sum[:16])+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(document))
}

// document is the JWK set. Each key is its thumbprint's form with three more members behind it.
func (r *Ring) document(ctx context.Context) []byte {
	keys, _ := r.Keys(ctx, "") // it never fails
	var texts []string
	for _, k := range keys {
		if k.Public == nil {
			continue
		}
		id, err := json.Marshal(k.ID)
		if err == nil {
			texts = append(texts, strings.TrimSuffix(jws.JWK(k.Public), "}")+`,"alg":"`+k.Algorithm+`","kid":`+string(id)+`,"use":"sig"}`)
		}
	}
	return []byte(`{"keys":[` + strings.Join(texts, ",") + `]}`)
}
