package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// listenUDP answers datagrams on one port, from the very address each was sent to:
// a pod on the node's network has several, and a client drops an answer from another.
func (s *server) listenUDP(number int) error {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: number})
	if err != nil {
		return fmt.Errorf("cannot listen on %d/UDP: %w", number, err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot listen on %d/UDP: %w", number, err)
	}
	raw.Control(func(fd uintptr) {
		// Where IPv6 is off the socket is IPv4's; one of the two options is refused.
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1)
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1)
	})
	s.sockets = append(s.sockets, conn)
	bound := conn.LocalAddr().(*net.UDPAddr).Port
	s.log("listening on %d/UDP", bound)
	go s.answerDatagrams(conn, uint16(bound))
	return nil
}

func (s *server) answerDatagrams(conn *net.UDPConn, bound uint16) {
	data, control := make([]byte, 65536), make([]byte, 256)
	for {
		n, c, _, client, err := conn.ReadMsgUDPAddrPort(data, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // an ICMP error of an earlier answer, for one
			s.log("UDP: %v", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		local, source := arrival(control[:c])
		a := s.answerTo("UDP", net.UDPAddrFromAddrPort(client), net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, bound)))
		a.Data = shorten(string(data[:n]))
		s.log("UDP %s -> %d %q", client, bound, a.Data)
		if _, _, err := conn.WriteMsgUDPAddrPort(a.line(), source, client); err != nil {
			s.log("UDP answer to %s: %v", client, err)
		}
	}
}

// arrival reads the address a datagram was sent to from its control messages, and
// returns the control message that answers from it. The interface is left to routing.
func arrival(control []byte) (netip.Addr, []byte) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}, nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == syscall.IPPROTO_IPV6 && m.Header.Type == syscall.IPV6_PKTINFO && len(m.Data) >= syscall.SizeofInet6Pktinfo:
			address, _ := netip.AddrFromSlice(m.Data[:16])
			return address.Unmap(), controlMessage(syscall.IPPROTO_IPV6, syscall.IPV6_PKTINFO, append(m.Data[:16:16], 0, 0, 0, 0))
		case m.Header.Level == syscall.IPPROTO_IP && m.Header.Type == syscall.IP_PKTINFO && len(m.Data) >= syscall.SizeofInet4Pktinfo:
			address, _ := netip.AddrFromSlice(m.Data[8:12])
			source := make([]byte, syscall.SizeofInet4Pktinfo)
			copy(source[4:8], m.Data[8:12])
			return address, controlMessage(syscall.IPPROTO_IP, syscall.IP_PKTINFO, source)
		}
	}
	return netip.Addr{}, nil
}
