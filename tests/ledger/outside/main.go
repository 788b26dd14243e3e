// Checks a ledger with golang.org/x/mod/sumdb, whose authors have never seen it: `outside FOLDER VKEY [OLDER-CHECKPOINT]`.
//
// The note package opens the checkpoint, and the tlog package reads the tiles: it verifies each against the root before it
// uses it. Every leaf of every bundle is hashed and proven under the root. An older checkpoint must be one that this tree
// continues. What fails ends with status 1 and words.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// folder reads tiles as C2SP tlog-tiles lays them out.
type folder string

func (f folder) path(level string, n int64, width int) string {
	number := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		number = fmt.Sprintf("x%03d/%s", n%1000, number)
	}
	name := filepath.Join(string(f), "tile", level, filepath.FromSlash(number))
	if width < 1<<height {
		name += ".p/" + strconv.Itoa(width)
	}
	return name
}

func (f folder) Height() int { return height }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(f.path(strconv.Itoa(tile.L), tile.N, tile.W))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

// open returns the tree of a checkpoint that the key has signed. Lines behind the root are the log's own.
func open(path, vkey string) (tlog.Tree, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.SplitN(opened.Text, "\n", 4)
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("no checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// checkLeaves proves every leaf of every bundle under the root.
func checkLeaves(f folder, tree tlog.Tree, hashes tlog.HashReader) error {
	for n := int64(0); n<<height < tree.N; n++ {
		width := min(tree.N-n<<height, 1<<height)
		data, err := os.ReadFile(f.path("entries", n, int(width)))
		if err != nil {
			return err
		}
		for index := n << height; index < n<<height+width; index++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("bundle %d ends in the middle of leaf %d", n, index)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			proof, err := tlog.ProveRecord(tree.N, index, hashes)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(data[2:end])); err != nil {
				return fmt.Errorf("leaf %d: %w", index, err)
			}
			data = data[end:]
		}
		if len(data) > 0 {
			return fmt.Errorf("bundle %d goes on behind its last leaf", n)
		}
	}
	return nil
}

func check(dir, vkey string, older []string) (tlog.Tree, error) {
	tree, err := open(filepath.Join(dir, "checkpoint"), vkey)
	if err != nil || tree.N == 0 {
		return tree, err
	}
	hashes := tlog.TileHashReader(tree, folder(dir))
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return tree, err
	}
	if root != tree.Hash {
		return tree, fmt.Errorf("the tiles do not lead to the root")
	}
	for _, path := range older {
		before, err := open(path, vkey)
		if err != nil {
			return tree, err
		}
		if before.N == 0 {
			continue
		}
		proof, err := tlog.ProveTree(tree.N, before.N, hashes)
		if err != nil {
			return tree, err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, before.N, before.Hash); err != nil {
			return tree, err
		}
	}
	return tree, checkLeaves(folder(dir), tree, hashes)
}

func main() {
	tree, err := check(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(tree.N)
}
