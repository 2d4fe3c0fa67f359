"""Client for the memcached script: four threads, each with a connection, and a little of every command."""
import socket
import sys
import threading

port, count = int(sys.argv[1]), int(sys.argv[2])


class Client:
    def __init__(self):
        self.s = socket.create_connection(('127.0.0.1', port))
        self.f = self.s.makefile('rb')

    def ask(self, line, data=None):
        self.s.sendall(line.encode() + b'\r\n' + (data + b'\r\n' if data is not None else b''))
        return self.f.readline().strip().decode()

    def get(self, key):
        head = self.ask(f'get {key}')
        if head == 'END':
            return None
        data = self.f.read(int(head.split()[3]) + 2)[:-2]
        assert self.f.readline() == b'END\r\n'
        return data


def work(who, wrong):
    c = Client()
    for i in range(count):
        data = (f'{who}:{i}:' * (1 + i % 300)).encode()
        if c.ask(f'set k{who}.{i} 0 0 {len(data)}', data) != 'STORED' or c.get(f'k{who}.{i}') != data:
            wrong.append((who, i))


wrong = []
threads = [threading.Thread(target=work, args=(n, wrong)) for n in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print('wrong:', wrong)
c = Client()
for line, data in [('set n 0 0 2', b'41'), ('incr n 1', None), ('decr n 2', None), ('add n 0 0 1', b'x'), ('append n 0 0 2', b'zz'),
                   ('replace none 0 0 1', b'x'), ('delete n', None), ('delete n', None), ('touch k1.1 100', None), ('bogus', None)]:
    print(line, '->', c.ask(line, data))
big = b'b' * 900000
print(c.ask(f'set big 0 0 {len(big)}', big), c.get('big') == big, c.get('none'))
print(c.ask('version').split()[0], c.ask('flush_all'), c.get('k1.1'))
# A datagram: request 7, one packet.
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(10)
u.sendto(b'\0\7\0\0\0\1\0\0get none\r\n', ('127.0.0.1', port))
print(u.recv(100))
