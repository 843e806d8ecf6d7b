// The servlet for Tomcat and Jetty. The package of the servlets, jakarta or javax, is put in place of SERVLETS.

import SERVLETS.servlet.http.HttpServlet;
import SERVLETS.servlet.http.HttpServletRequest;
import SERVLETS.servlet.http.HttpServletResponse;
import java.io.ByteArrayOutputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.util.zip.GZIPOutputStream;

public class App extends HttpServlet {
    private static synchronized void note(String line) throws IOException {
        try (FileOutputStream file = new FileOutputStream(System.getenv("LEDGER"), true)) {
            file.write((line + "\n").getBytes());
        }
    }

    private static String repeat(String text, int times) {
        return new String(new char[times]).replace("\0", text);
    }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String[] parts = request.getRequestURI().split("/", 3);
        String kind = parts[1], id = parts[2];
        note("B " + id);
        int size = kind.equals("refuse") ? 0 : request.getInputStream().readAllBytes().length;
        byte[] content = id.getBytes();
        response.setContentType("text/plain");
        switch (kind) {
            case "empty":
                response.setStatus(204);
                note("E " + id);
                return;
            case "gzip":
                ByteArrayOutputStream packed = new ByteArrayOutputStream();
                try (GZIPOutputStream out = new GZIPOutputStream(packed)) {
                    out.write(repeat(id + "\n", 1000).getBytes());
                }
                content = packed.toByteArray();
                response.setHeader("Content-Encoding", "gzip");
                break;
            case "header":
                for (int number = 0; number < 100; number++) response.setHeader("X-Field-" + number, repeat("x", 1000));
                break;
            case "refuse":
                response.setStatus(413);
                content = "too much".getBytes();
                break;
            case "sum":
                content = String.valueOf(size).getBytes();
                break;
            default:
        }
        response.setContentLength(content.length);
        note("E " + id);
        if (!request.getMethod().equals("HEAD")) response.getOutputStream().write(content);
    }
}
