package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// siteFile is where serve writes in the data folder where it serves, for who makes links to it.
const siteFile = "site"

// defaultSite is where serve serves unless told otherwise.
const defaultSite = "http://127.0.0.1:8000"

// writeSite replaces the file in one step: a reader sees the old site or the new one. Where there is no data folder there is
// nobody who reads it.
func writeSite(dir, site string) error {
	file, err := os.CreateTemp(dir, "."+siteFile+"-*")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(site + "\n")
	if err == nil {
		err = file.Chmod(0o644) // it is no secret
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, siteFile))
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// readSite is what serve has written; empty: none does, or has ended.
func readSite(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, siteFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// removeSite removes the file, unless another serve has written it meanwhile.
func removeSite(dir, site string) {
	if readSite(dir) == site {
		_ = os.Remove(filepath.Join(dir, siteFile)) // one that stays says where it was
	}
}

// publishSite writes down where serve serves.
func (r *running) publishSite(dir, site string) {
	if err := writeSite(dir, site); err != nil {
		r.log.Warn("trunkline digest won't know where this serves: the data folder can't be written to", "error", err)
		return
	}
	r.unpublish = func() { removeSite(dir, site) }
}
