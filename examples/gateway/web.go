// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/grpcauth/grpcauth"
)

//go:embed web
var files embed.FS

const (
	maxUpload = 10 << 20
	// sayEvery keeps proxies from taking an open stream of events for a dead one.
	sayEvery = 15 * time.Second
)

// page serves the page, which runs no script but its own and is in no frame.
func page() http.Handler {
	web, err := fs.Sub(files, "web")
	if err != nil {
		panic(err) // the folder is a part of the program
	}
	serve := http.FileServerFS(web)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store") // or the button back shows what was signed out of
		serve.ServeHTTP(w, r)
	})
}

// noStore keeps what users see of themselves out of caches.
func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// upload says how much it was given.
func upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxUpload))
	if err != nil {
		http.Error(w, "the upload is too large, or broke off", http.StatusRequestEntityTooLarge)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, "{\"bytes\":%d}\n", n)
}

// events tell a page that its session has ended, here or elsewhere: the context of the request ends with it.
func events(w http.ResponseWriter, r *http.Request) {
	user, _ := grpcauth.FromContext(r.Context())
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // for nginx
	say := func(event string) bool {
		_, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, user.ID)
		return err == nil && http.NewResponseController(w).Flush() == nil
	}
	ticker := time.NewTicker(sayEvery)
	defer ticker.Stop()
	for say("signed-in") {
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			say("signed-out")
			return
		}
	}
}
