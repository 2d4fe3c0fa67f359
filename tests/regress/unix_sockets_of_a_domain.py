"""What becomes of UNIX sockets that are named in a directory; run natively and with that directory on a domain."""
import os
import socket
import stat
import sys

os.chdir(sys.argv[1])
here = os.getcwd()


def tried(what, call, *args):
    try:
        call(*args)
        print(what, 'ok')
    except OSError as e:
        print(what, e.strerror)


for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
    for name in ('relative', here + '/absolute'):
        s = socket.socket(socket.AF_UNIX, kind)
        s.bind(name)
        st = os.stat(name)
        print(sorted(os.listdir('.')), stat.filemode(st.st_mode), s.getsockname() == name)
        if kind != socket.SOCK_DGRAM:
            tried('before listen', socket.socket(socket.AF_UNIX, kind).connect, name)
            s.listen()
        os.rename(name, name + '2')
        os.symlink(os.path.basename(name) + '2', name)
        c = socket.socket(socket.AF_UNIX, kind)
        c.connect(name)
        c.send(b'data')
        a = s.accept()[0] if kind != socket.SOCK_DGRAM else s
        print(a.recv(10), a.getsockname() == name)
        tried('again', socket.socket(socket.AF_UNIX, kind).bind, name + '2')
        pid = os.fork()
        if pid == 0:
            d = socket.socket(socket.AF_UNIX, kind)
            d.connect(name + '2')
            d.send(b'child')
            os._exit(0)
        print(os.waitpid(pid, 0)[1], (s.accept()[0] if kind != socket.SOCK_DGRAM else s).recv(10))
        s.close()
        c.close()
        tried('closed', socket.socket(socket.AF_UNIX, kind).connect, name)
        os.unlink(name + '2')
        os.unlink(name)
        tried('removed', socket.socket(socket.AF_UNIX, kind).connect, name)
        t = socket.socket(socket.AF_UNIX, kind)
        t.bind(name)
        tried('bound twice', t.bind, name + '3')
        os.unlink(name)
        t.close()
for name in ('relative', here + '/absolute'):
    server, client = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    server.bind(name)
    client.bind('back')
    client.sendto(b'sent to', name)
    client.sendmsg([b'sent', b' as a message'], [], 0, name)
    print(server.recv(100), end=' ')
    data, back = server.recvfrom(100)
    server.sendto(b'answer', back)
    print(data, client.recv(100))
    tried('to nobody', client.sendto, b'x', 'nobody')
    tried('to nobody', client.sendmsg, [b'x'], [], 0, 'nobody')
    os.chmod(name, 0)
    server.close()
    tried('to one who is gone', client.sendto, b'x', name)
    os.unlink(name)
    os.unlink('back')
open('file', 'w').close()
tried('a file', socket.socket(socket.AF_UNIX).connect, 'file')
tried('a file', socket.socket(socket.AF_UNIX).bind, 'file')
tried('no directory', socket.socket(socket.AF_UNIX).bind, 'no/such')
tried('too long', socket.socket(socket.AF_UNIX).bind, 'x' * 107)
s = socket.socket(socket.AF_UNIX)
s.bind('\0' + here)
print(s.getsockname() == b'\0' + here.encode(), sorted(os.listdir('.'), key=len)[0])
old = socket.socket(socket.AF_UNIX)
old.bind('again')
old.listen()
os.unlink('again')
new = socket.socket(socket.AF_UNIX)
tried('the name of a socket that lives on', new.bind, 'again')
new.listen()
c = socket.socket(socket.AF_UNIX)
c.connect('again')
new.accept()
print('and the new one is found')
