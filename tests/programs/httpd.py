"""A small HTTP server for the curl and wget scripts: GET with ranges, PUT, POST (echoes), a redirect, a chunked answer."""
import http.server
import os
import sys


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def answer(self, code, body, **headers):
        self.send_response(code)
        for k, v in headers.items():
            self.send_header(k.replace('_', '-'), v)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == '/moved':
            return self.answer(302, b'', Location='/small')
        if self.path == '/chunked':
            self.send_response(200)
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            for i in range(50):
                part = f'part {i}\n'.encode()
                self.wfile.write(b'%x\r\n%s\r\n' % (len(part), part))
            self.wfile.write(b'0\r\n\r\n')
            return None
        span = self.headers.get('Range')
        path = self.translate_path(self.path)
        if span and os.path.isfile(path):
            first, _, last = span.partition('=')[2].partition('-')
            with open(path, 'rb') as f:
                data = f.read()
            first = int(first)
            last = int(last) if last else len(data) - 1
            if first >= len(data):
                return self.answer(416, b'', Content_Range=f'bytes */{len(data)}')
            return self.answer(206, data[first:last + 1], Content_Range=f'bytes {first}-{last}/{len(data)}')
        return super().do_GET()

    def body(self):
        return self.rfile.read(int(self.headers.get('Content-Length', 0)))

    def do_PUT(self):
        data = self.body()
        with open(self.translate_path(self.path), 'wb') as f:
            f.write(data)
        self.answer(201, b'stored\n')

    def do_POST(self):
        self.answer(200, self.body()[::-1])


os.chdir(sys.argv[2])
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
