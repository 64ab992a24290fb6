// SPDX-License-Identifier: Apache-2.0

package grpcauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/grpcauth/grpcauth"
)

const echoMethod = "/echo.v1.EchoService/Echo"

func request(md metadata.MD) *grpcauth.Request {
	return grpcauth.NewRequest(metadata.NewIncomingContext(context.Background(), md), echoMethod)
}

func TestAuthorizationTakesOneSchemeOneSpaceOneCredential(t *testing.T) {
	t.Parallel()
	const none = grpcauth.CodeMissing
	for name, c := range map[string]struct {
		values []string
		want   string
		code   grpcauth.Code
	}{
		"plain":              {[]string{"Bearer abc"}, "abc", 0},
		"lower case":         {[]string{"bearer abc"}, "abc", 0},
		"upper case":         {[]string{"BEARER abc"}, "abc", 0},
		"mixed case":         {[]string{"BeArEr abc"}, "abc", 0},
		"inner space stays":  {[]string{"Bearer a b"}, "a b", 0},
		"absent":             {nil, "", none},
		"empty":              {[]string{""}, "", none},
		"another scheme":     {[]string{"Basic abc"}, "", none},
		"no scheme":          {[]string{"abc"}, "", none},
		"colon":              {[]string{"Bearer: abc"}, "", none},
		"shorter scheme":     {[]string{"Bear abc"}, "", none},
		"longer scheme":      {[]string{"Bearerx abc"}, "", none},
		"tab after scheme":   {[]string{"Bearer\tabc"}, "", none},
		"leading space":      {[]string{" Bearer abc"}, "", none},
		"scheme alone":       {[]string{"Bearer"}, "", grpcauth.CodeMalformed},
		"scheme and space":   {[]string{"Bearer "}, "", grpcauth.CodeMalformed},
		"two spaces":         {[]string{"Bearer  abc"}, "", grpcauth.CodeMalformed},
		"space and tab":      {[]string{"Bearer \tabc"}, "", grpcauth.CodeMalformed},
		"trailing space":     {[]string{"Bearer abc "}, "", grpcauth.CodeMalformed},
		"trailing tab":       {[]string{"Bearer abc\t"}, "", grpcauth.CodeMalformed},
		"trailing CR LF":     {[]string{"Bearer abc\r\n"}, "", grpcauth.CodeMalformed},
		"no-break space":     {[]string{"Bearer \u00a0abc"}, "", grpcauth.CodeMalformed},
		"trailing no-break":  {[]string{"Bearer abc\u00a0"}, "", grpcauth.CodeMalformed},
		"twice the same":     {[]string{"Bearer abc", "Bearer abc"}, "", grpcauth.CodeAmbiguous},
		"two values":         {[]string{"Bearer abc", "Bearer def"}, "", grpcauth.CodeAmbiguous},
		"two schemes":        {[]string{"Basic abc", "Bearer def"}, "", grpcauth.CodeAmbiguous},
		"a value and nought": {[]string{"Bearer abc", ""}, "", grpcauth.CodeAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := request(metadata.MD{"authorization": c.values}).Authorization("Bearer")
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.want != "" && err != nil || c.want == "" && grpcauth.CodeOf(err) != c.code {
				t.Errorf("got error %v, want code %v", err, c.code)
			}
		})
	}
}

func TestLookAlikeKeysAreNotRead(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"authorization-bin", "authorization ", "authorization_", "grpcgateway-authorization", "x-authorization", "grpc-metadata-authorization"} {
		req := request(metadata.MD{key: {"Bearer abc"}})
		if got, err := req.Authorization("Bearer"); !errors.Is(err, grpcauth.ErrNoCredentials) || got != "" {
			t.Errorf("%q: got %q, %v, want ErrNoCredentials", key, got, err)
		}
	}
}

func TestValueRefusesTwoAndEmpty(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []string
		want   string
		code   grpcauth.Code
	}{
		"one":    {[]string{"k"}, "k", 0},
		"none":   {nil, "", grpcauth.CodeMissing},
		"empty":  {[]string{""}, "", grpcauth.CodeMalformed},
		"two":    {[]string{"k", "k"}, "", grpcauth.CodeAmbiguous},
		"plenty": {strings.Split(strings.Repeat("k ", 999)+"k", " "), "", grpcauth.CodeAmbiguous},
	} {
		got, err := request(metadata.MD{"x-api-key": c.values}).Value("x-api-key")
		if got != c.want || c.want == "" && grpcauth.CodeOf(err) != c.code {
			t.Errorf("%s: got %q, %v, want %q, %v", name, got, err, c.want, c.code)
		}
	}
}

func TestCookieFieldsAreOneList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fields []string
		want   string
		code   grpcauth.Code
	}{
		"alone":            {[]string{"sid=abc"}, "abc", 0},
		"among others":     {[]string{"a=b; sid=abc; c=d"}, "abc", 0},
		"in a later field": {[]string{"a=b", "sid=abc"}, "abc", 0},
		"value has equals": {[]string{"sid=abc=="}, "abc==", 0},
		"none":             {[]string{"a=b"}, "", grpcauth.CodeMissing},
		"no cookies":       {nil, "", grpcauth.CodeMissing},
		"other case":       {[]string{"SID=abc"}, "", grpcauth.CodeMissing},
		"longer name":      {[]string{"xsid=abc; sidx=abc"}, "", grpcauth.CodeMissing},
		"in a value":       {[]string{"a=sid=abc"}, "", grpcauth.CodeMissing},
		"empty":            {[]string{"sid="}, "", grpcauth.CodeMalformed},
		"twice":            {[]string{"sid=abc; sid=abc"}, "", grpcauth.CodeAmbiguous},
		"in two fields":    {[]string{"sid=abc", "a=b; sid=def"}, "", grpcauth.CodeAmbiguous},
		"too much":         {[]string{"sid=abc; a=" + strings.Repeat("b", 16<<10)}, "", grpcauth.CodeMalformed},
	} {
		got, err := request(metadata.MD{"cookie": c.fields}).Cookie("sid")
		if got != c.want || c.want == "" && grpcauth.CodeOf(err) != c.code {
			t.Errorf("%s: got %q, %v, want %q, %v", name, got, err, c.want, c.code)
		}
	}
}

func TestCertificateIsOnlyALeafThatWasVerified(t *testing.T) {
	t.Parallel()
	leaf, ca := &x509.Certificate{Raw: []byte{1}}, &x509.Certificate{Raw: []byte{2}}
	for name, c := range map[string]struct {
		info credentials.AuthInfo
		want *x509.Certificate
	}{
		"verified":       {credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, ca}}, PeerCertificates: []*x509.Certificate{leaf}}}, leaf},
		"not verified":   {credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}}, nil},
		"no certificate": {credentials.TLSInfo{}, nil},
		"empty chain":    {credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}}, nil},
		"no TLS":         {nil, nil},
	} {
		ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: c.info})
		if got, ok := grpcauth.NewRequest(ctx, echoMethod).Certificate(); got != c.want || ok != (c.want != nil) {
			t.Errorf("%s: got %v, %v", name, got, ok)
		}
	}
	if _, ok := grpcauth.NewRequest(t.Context(), echoMethod).Certificate(); ok {
		t.Error("no peer: got a certificate")
	}
}

func TestRequestPrintsNoCredential(t *testing.T) {
	t.Parallel()
	req := request(metadata.Pairs("authorization", "Bearer canary-5f1d7"))
	if _, err := req.Authorization("Bearer"); err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal([]any{req})
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %+v %#v %s %q %x %d", req, req, req, req, req, req, req) + string(document) + fmt.Sprintf("%+v %+v %#v", struct{ R *grpcauth.Request }{req}, *req, *req)
	if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
		t.Errorf("shows the credential: %s", text)
	}
}

// A context that is printed shows no more than those of package context do.
func TestContextPrintsNoCredential(t *testing.T) {
	t.Parallel()
	auth := grpcauth.New(scheme("Bearer"))
	ctx, err := auth.Authenticate(incoming(metadata.Pairs("authorization", "Bearer canary-5f1d7")), echoMethod)
	if err != nil {
		t.Fatal(err)
	}
	child, cancel := context.WithCancel(context.WithValue(ctx, t, t))
	defer cancel()
	text := ""
	for _, v := range []context.Context{ctx, child, grpcauth.NewContext(ctx, &grpcauth.User{ID: "canary-user"})} {
		text += fmt.Sprintf("%v %+v %#v %s %q %x %+v\n", v, v, v, v, v, v, struct{ C context.Context }{v})
	}
	if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
		t.Errorf("shows the credential: %s", text)
	}
}

func TestHostileMetadataIsNobody(t *testing.T) {
	t.Parallel()
	many := metadata.MD{}
	for i := range 10_000 {
		many[fmt.Sprintf("x-%d", i)] = []string{"Bearer alice"}
	}
	auth := grpcauth.New(grpcauth.Chain(scheme("Bearer"), keyed("x-api-key", "apikey")))
	for name, md := range map[string]metadata.MD{
		"nothing": nil, "empty": {}, "10,000 keys": many, "no values": {"authorization": {}}, "an empty key": {"": {"Bearer alice"}},
		"a million bytes": {"x": {strings.Repeat("x", 1<<20)}}, "bytes": {"\x00\xff": {"\x00\xff"}}, "binary": {"authorization-bin": {"Bearer alice"}},
	} {
		if got := judge(auth, md); got != "CREDENTIALS_MISSING" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("authorization", "Bearer abc", "cookie", "sid=abc; a=b", "Bearer")
	f.Add("authorization", "Bearer  abc", "authorization", "Basic abc", "basic")
	f.Add("cookie", "sid=a;sid=b", "cookie", ";;=;", "")
	f.Add("Authorization", "\x00", "", "", "\xff")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, scheme string) {
		md := metadata.MD{}
		md[k1] = append(md[k1], v1)
		md[k2] = append(md[k2], v2)
		req := request(md)
		for name, read := range map[string]func() (string, error){
			"Value":         func() (string, error) { return req.Value(k1) },
			"Authorization": func() (string, error) { return req.Authorization(scheme) },
			"Cookie":        func() (string, error) { return req.Cookie("sid") },
		} {
			got, err := read()
			if (err == nil) != (got != "") {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
		}
		if got, err := req.Authorization(scheme); err == nil {
			if len(md["authorization"]) > 1 || strings.TrimSpace(got) != got {
				t.Errorf("took %q from %q", got, md["authorization"])
			}
		}
		if s := fmt.Sprintf("%+v", req); !strings.HasPrefix(s, "Request(") {
			t.Errorf("prints as %s", s)
		}
	})
}
