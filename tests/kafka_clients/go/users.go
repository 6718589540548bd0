package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A server with users: ann, who may do everything, and bob, who may do nothing.
type userServer struct {
	plain, secure string // addresses
	trust         *tls.Config
	command       *exec.Cmd
	folder        string
}

const password = "a secret of ours"

// A certificate of localhost that signs itself, in two files.
func (s *userServer) makeCertificate() (certificate, key string) {
	private := get(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	made := get(x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private))
	pool := x509.NewCertPool()
	pool.AddCert(get(x509.ParseCertificate(made)))
	s.trust = &tls.Config{RootCAs: pool}
	certificate, key = filepath.Join(s.folder, "cert.pem"), filepath.Join(s.folder, "key.pem")
	must(os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made}), 0o600))
	must(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: get(x509.MarshalPKCS8PrivateKey(private))}), 0o600))
	return certificate, key
}

func startUserServer() *userServer {
	s := &userServer{folder: get(os.MkdirTemp("", "beck-go-"))}
	certificate, key := s.makeCertificate()
	data := filepath.Join(s.folder, "data")
	for _, user := range [][]string{{"ann", "--allow", "server=admin"}, {"bob"}} {
		add := exec.Command(os.Getenv("PROGRAM"), append([]string{"user", "add", "--data", data, "--password-stdin"}, user...)...)
		add.Stdin = strings.NewReader(password + "\n")
		if said, err := add.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("beck user add: %v: %s", err, said))
		}
	}
	s.command = exec.Command(os.Getenv("PROGRAM"), "serve", "--data", data, "--http.listen", "", "--amqp.listen", "", "--management.listen", "",
		"--kafka.listen", "127.0.0.1:0", "--kafka.tls_listen", "127.0.0.1:0", "--kafka.tls_certificate", certificate, "--kafka.tls_key", key)
	said := get(s.command.StderrPipe())
	must(s.command.Start())
	address := regexp.MustCompile(`address=(\S+) protocol="?kafka`)
	lines := bufio.NewScanner(said)
	for lines.Scan() && !strings.Contains(lines.Text(), " ready ") {
		if found := address.FindStringSubmatch(lines.Text()); found != nil {
			s.plain, s.secure = s.secure, found[1]
		}
	}
	holds(s.plain != "", "the server does not start: "+lines.Text())
	go func() {
		for lines.Scan() {
		}
	}()
	return s
}

func (s *userServer) stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM)
	_ = s.command.Wait()
	_ = os.RemoveAll(s.folder)
}
