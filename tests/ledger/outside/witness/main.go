// Verifies a cosigned checkpoint with filippo.io/torchwood: main CHECKPOINT LOG_VKEY NAME=SEED_HEX...
// It prints the size of the tree. Each of the witnesses must have cosigned it. Its verifiers are made from secret keys,
// because this version of torchwood makes them from nothing else.
package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	data, err := os.ReadFile(os.Args[1])
	fail(err)
	log, err := note.NewVerifier(os.Args[2])
	fail(err)
	known := []note.Verifier{log}
	for _, word := range os.Args[3:] {
		name, text, _ := strings.Cut(word, "=")
		seed, err := hex.DecodeString(text)
		fail(err)
		witness, err := torchwood.NewCosignatureSigner(name, ed25519.NewKeyFromSeed(seed))
		fail(err)
		known = append(known, witness.Verifier())
	}
	found, err := note.Open(data, note.VerifierList(known...))
	fail(err)
	if len(found.Sigs) != len(known) {
		fail(fmt.Errorf("%d of %d have signed", len(found.Sigs), len(known)))
	}
	checkpoint, err := torchwood.ParseCheckpoint(found.Text)
	fail(err)
	fmt.Println(checkpoint.N)
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
